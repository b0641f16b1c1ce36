"""Configuration: schemas, composition by Hydra, validation, and which code may be built."""
