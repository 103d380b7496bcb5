"""Live: candles in, decisions out, in four small services over Redis Streams; see README.md here."""
