"""Parts of the demonstration and of the benchmarks: a site's uplink that is slow, breaks, and counts each byte."""
