"""Find the smallest network that still does the job, prove it on the device, hand it over."""
