"""Pages and endpoints: health, metrics, and the page behind a reference."""
