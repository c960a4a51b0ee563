"""Pictures of played episodes: play (episode -> film), draw (film -> shapes), raster and svg (shapes -> files)."""
