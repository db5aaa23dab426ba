"""A page on this machine, and the JSON API that it uses: give a query, see its neighbors and why they are near."""
