"""The systems that LLaMA is compared with: each trained, recorded and tested by the same command."""
