"""What shows wharf at work: simulated phones that pair, contacts that write, a program that answers, and the proof."""
