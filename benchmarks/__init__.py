"""Side by side with other miners, on the same texts, pairs and model."""
