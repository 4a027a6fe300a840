"""Built-in models, as the Hugging Face configurations that they were published with."""
