"""The UniMP paper's printed tables beside what is measured here, and runs repeated from their manifests."""
