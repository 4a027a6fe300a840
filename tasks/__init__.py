"""Many tasks on many processes, here or on a Ray cluster: isolated, limited, resumed. See `contract.py`."""
