"""The inference service's data path beside Triton, a bare echo and other Python servers."""
