"""The PyPI package mesoshttp, unmodified, against our gateway.

    python3 mesoshttp_task.py <host:port>

Launches one task on the first offer and exits with 0 on TASK_FINISHED. The package handles an event
only when the length of the next one has arrived, so each step may take a heartbeat (15 s).
"""

import sys
import threading

from mesoshttp.client import MesosClient

TIMEOUT_SECONDS = 150


def main(master):
    client = MesosClient([f"http://{master}"], frameworkName="mesoshttp_task.py", max_reconnect=1)
    result, over = [], threading.Event()
    launched = []

    def on_offers(offers):
        for offer in offers:
            if launched:
                offer.decline()
                continue
            task = {
                "name": "hello",
                "task_id": {"value": "hello"},
                "agent_id": offer.get_offer()["agent_id"],
                "resources": [
                    {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}},
                    {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
                ],
                "command": {"shell": True, "value": "echo hello"},
            }
            launched.append(task)
            offer.accept([task])

    def on_update(update):
        state = update["status"]["state"]
        print(update["status"]["task_id"]["value"], state, flush=True)
        if state not in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"):
            result.append(state)
            over.set()

    def on_error(message):
        result.append(message)
        over.set()

    client.on(MesosClient.OFFERS, on_offers)
    client.on(MesosClient.UPDATE, on_update)
    client.on(MesosClient.ERROR, on_error)
    # Its loop blocks on the stream, so it gets a thread that does not keep this process alive.
    threading.Thread(target=client.register, daemon=True).start()
    if not over.wait(TIMEOUT_SECONDS):
        sys.exit(f"not done within {TIMEOUT_SECONDS} s")
    client.get_driver().tearDown()
    if result != ["TASK_FINISHED"]:
        sys.exit(f"ended as {result}")
    print("ok")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
