"""What every room stands on: configuration, errors, names, ids, clock, log, checking of images."""
