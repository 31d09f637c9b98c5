"""Side-by-side measurements against real peers. `make bench` runs them; nothing here is imported by the product."""
