"""A Mesos v1 executor in the words of the Mesos documentation: HTTP, JSON, nothing but Python itself.

An agent starts it. Each of its tasks runs until it is killed, until the framework says `finish <task>`, or
until a file `finish-<task>` is in the sandbox, which works while the agent is away. It answers `where` with
its sandbox, and writes what happened to it to `events` in its sandbox.
"""

import base64
import http.client
import json
import os
import sys
import threading
import time
import uuid

AGENT = os.environ["MESOS_AGENT_ENDPOINT"]
SANDBOX = os.environ["MESOS_SANDBOX"]
IDS = {
    "framework_id": {"value": os.environ["MESOS_FRAMEWORK_ID"]},
    "executor_id": {"value": os.environ["MESOS_EXECUTOR_ID"]},
}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Authorization": "Bearer " + os.environ["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"],
}
# An executor gives up when its agent is away for longer than MESOS_RECOVERY_TIMEOUT; no test takes so long.
RECOVERY_SECONDS = 120

lock = threading.RLock()
tasks = {}  # By id, until an update of it is acknowledged.
updates = {}  # By uuid, until acknowledged; in order.
running = set()


def note(text):
    with lock, open(os.path.join(SANDBOX, "events"), "a", encoding="utf-8") as file:
        print(text, file=file)


def post(call):
    connection = http.client.HTTPConnection(AGENT, timeout=30)
    connection.request("POST", "/api/v1/executor", json.dumps({**IDS, **call}), HEADERS)
    return connection, connection.getresponse()


def send(call):
    """Sends a call. What an agent that is away does not get, it gets with the next SUBSCRIBE."""
    try:
        connection, answer = post(call)
    except OSError as error:
        note(f"not sent: {error}")
        return
    text = answer.read().decode()
    connection.close()
    if answer.status != 202:
        note(f"{call['type']}: {answer.status} {text}")


def update(task_id, state):
    status = {
        "task_id": {"value": task_id},
        "state": state,
        "source": "SOURCE_EXECUTOR",
        "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
        "timestamp": time.time(),
        "data": base64.b64encode(f"{task_id} is {state}".encode()).decode(),
    }
    with lock:
        updates[status["uuid"]] = {"status": status}
    send({"type": "UPDATE", "update": {"status": status}})


def end(task_id, state):
    with lock:
        if task_id not in running:
            return
        running.discard(task_id)
    update(task_id, state)


def launch(task):
    task_id = task["task_id"]["value"]
    with lock:
        note(f"launch {task_id}")
        tasks[task_id] = task
        running.add(task_id)
    update(task_id, "TASK_RUNNING")


def message(text):
    note(f"message {text}")
    if text.startswith("finish "):
        end(text.split()[1], "TASK_FINISHED")
    elif text.startswith("exit "):
        os._exit(int(text.split()[1]))
    else:
        answer = json.dumps({"asked": text, "sandbox": SANDBOX})
        send({"type": "MESSAGE", "message": {"data": base64.b64encode(answer.encode()).decode()}})


def handle(event):
    kind = event["type"]
    if kind == "SUBSCRIBED":
        note(f"subscribed {event['subscribed']['framework_info']['name']}")
    elif kind == "LAUNCH":
        launch(event["launch"]["task"])
    elif kind == "LAUNCH_GROUP":
        for task in event["launch_group"]["task_group"]["tasks"]:
            launch(task)
    elif kind == "KILL":
        note(f"kill {event['kill']['task_id']['value']}")
        end(event["kill"]["task_id"]["value"], "TASK_KILLED")
    elif kind == "ACKNOWLEDGED":
        with lock:
            updates.pop(event["acknowledged"]["uuid"], None)
            tasks.pop(event["acknowledged"]["task_id"]["value"], None)
    elif kind == "MESSAGE":
        message(base64.b64decode(event["message"]["data"]).decode())
    elif kind == "SHUTDOWN":
        note("shutdown")
        for task_id in list(running):
            end(task_id, "TASK_KILLED")
        sys.exit(0)
    elif kind == "ERROR":
        sys.exit(event["error"]["message"])


def follow():
    """One subscription, until its stream ends."""
    with lock:
        subscribe = {"unacknowledged_tasks": list(tasks.values()), "unacknowledged_updates": list(updates.values())}
    connection, answer = post({"type": "SUBSCRIBE", "subscribe": subscribe})
    if answer.status != 200:
        raise OSError(f"SUBSCRIBE: {answer.status} {answer.read().decode()}")
    connection.sock and connection.sock.settimeout(None)
    answered = False
    while True:
        length = answer.readline()
        if not length:
            return answered
        handle(json.loads(answer.read(int(length))))
        answered = True


def watch():
    """Tasks whose file is there end."""
    while True:
        for task_id in list(running):
            if os.path.exists(os.path.join(SANDBOX, f"finish-{task_id}")):
                end(task_id, "TASK_FINISHED")
        time.sleep(0.05)


def main():
    threading.Thread(target=watch, daemon=True).start()
    heard = time.monotonic()
    while time.monotonic() - heard < RECOVERY_SECONDS:
        try:
            if follow():
                heard = time.monotonic()
        except (OSError, ValueError, http.client.HTTPException) as error:
            note(f"away: {error}")
        time.sleep(0.1)
    sys.exit("the agent is away for too long")


main()
