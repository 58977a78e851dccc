"""A finished run in the formats of other tools: a merged model for plain transformers, an adapter for peft."""
