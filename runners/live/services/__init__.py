"""The live services: ingest, engine, trader."""
