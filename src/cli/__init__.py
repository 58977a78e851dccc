"""From the words on a command line to typed configurations, files and messages: what every command shares."""
