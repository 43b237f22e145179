"""Plays PostgreSQL's regression tests as pg_regress does, one after the other: regression.py SOURCES OUT [TEST...].

SOURCES is `src/test/regress` of the server's version, OUT a folder that gets one file for each test. Without names: all of
`parallel_schedule`. Where the database is comes from libpq's variables.
"""
import os, pathlib, re, subprocess, sys, time

sources, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
names = sys.argv[3:] or [name for line in (sources / "parallel_schedule").read_text().splitlines() if line.startswith("test:")
                         for name in line.split()[1:]]
out.mkdir(exist_ok=True)
build = out / "build"
build.mkdir(exist_ok=True)
(build / "results").mkdir(exist_ok=True)
environment = dict(os.environ, PGTZ="PST8PDT", PGDATESTYLE="Postgres, MDY", PGOPTIONS="-c intervalstyle=postgres_verbose",
                   PG_ABS_SRCDIR=str(sources), PG_ABS_BUILDDIR=str(build), PG_LIBDIR=os.environ.get("REGRESS_LIBDIR", "/nowhere"), PG_DLSUFFIX=".so",
                   LC_MESSAGES="C", LC_ALL="C")
for name in names:
    script = sources / "sql" / f"{name}.sql"
    if not script.exists():
        continue
    began = time.time()
    with open(script) as given, open(out / f"{name}.out", "w") as said:
        try:
            ended = subprocess.run(["psql", "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"],
                                   stdin=given, stdout=said, stderr=subprocess.STDOUT, env=environment, timeout=300).returncode
        except subprocess.TimeoutExpired:
            ended = "timeout"
    print(f"{name} {ended} {time.time() - began:.1f}", flush=True)
