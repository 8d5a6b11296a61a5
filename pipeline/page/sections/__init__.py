"""What a page shows, part by part: each module turns sources into values for its template."""
