"""The service: everything but training."""

import os

# Before torch is loaded, which reads it then. Its threads wait for each other after every operation. Those
# that spin take the cores from whoever they wait for: encoding beside other work is ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
