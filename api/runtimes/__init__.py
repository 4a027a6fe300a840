"""What a plan means for the runtimes that people have: flags, device maps and policies."""
