"""Back-ups of one tenant or of all: `write` makes a file, `restore` brings it back, into either database.

A file is a zip of one Parquet file a table, and `manifest.json`, which is written last.
"""

from app.store.backup.dump import Progress as Progress
from app.store.backup.dump import write as write
from app.store.backup.load import restore as restore
from app.store.backup.manifest import Manifest as Manifest
