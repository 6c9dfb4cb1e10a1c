"""``python -m ldmlib.bundled`` retrains every bundled weight."""

from ldmlib.bundled.weights import main

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from the checkpoint") from None
