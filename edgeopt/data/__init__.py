"""Real inputs: `.npz` files, folders of images or sounds, generators; streamed, split once."""
