"""Raw data in, labelled interactions, items and pictures out."""
