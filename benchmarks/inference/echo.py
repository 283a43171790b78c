"""A bare server that sends each request back, on the server in Rust: the limit of any front.

`python -m benchmarks.inference.echo` prints its port.
"""

from __future__ import annotations

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from benchmarks.callers import METHOD


def main() -> None:
    """Serve until killed."""
    front = NativeGrpcFront("127.0.0.1:0", [(METHOD, False)], io_threads=1)
    front.start()
    print(front.bound_port, flush=True)
    while (events := front.recv_batch(64)) is not None:
        for kind, number, _, payload, _ in events:
            if kind == EVENT_CALL and payload is not None:
                front.respond(number, payload)


if __name__ == "__main__":
    main()
