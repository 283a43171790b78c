"""What looks for change in a window, one file each; `registry.DETECTORS` names them all."""
