"""Turns the words on a command line into typed configurations; holds the files and messages of every command."""
