"""What a run is, carrying runs out, and the rows they leave."""
