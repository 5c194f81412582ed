"""What the pipeline does to blocks: pure functions on arrays, and the Beam transforms that call them."""
