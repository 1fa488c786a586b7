"""A Mesos v1 framework in the words of the Mesos documentation: HTTP, JSON, nothing but Python itself.

    python3 http_framework.py <host:port>

Subscribes, launches a task that ends well and one that ends with exit code 3, acknowledges every
update, reconciles, tears itself down, and exits with 0 when all of that went as documented.
"""

import http.client
import json
import sys
import time

TIMEOUT_SECONDS = 60
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class Stream:
    """One subscription: a connection whose answer never ends, framed as RecordIO."""

    def __init__(self, master, framework_info):
        self.master = master
        self.connection = http.client.HTTPConnection(master, timeout=TIMEOUT_SECONDS)
        call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info}}
        self.connection.request("POST", "/api/v1/scheduler", json.dumps(call), HEADERS)
        self.answer = self.connection.getresponse()
        if self.answer.status != 200:
            sys.exit(f"SUBSCRIBE: {self.answer.status} {self.answer.read().decode()}")
        self.stream_id = self.answer.getheader("Mesos-Stream-Id")
        if not self.stream_id:
            sys.exit("SUBSCRIBE was answered without Mesos-Stream-Id")
        if self.answer.getheader("Content-Type") != "application/json":
            sys.exit(f"the stream is {self.answer.getheader('Content-Type')}")
        event = self.next()
        if event["type"] != "SUBSCRIBED":
            sys.exit(f"the first event is {event}")
        self.framework_id = event["subscribed"]["framework_id"]

    def next(self):
        length = self.answer.readline()
        if not length:
            sys.exit("the stream ended")
        return json.loads(self.answer.read(int(length)))

    def call(self, kind, body=None, status=202):
        """Sends a call on a connection of its own, as the API asks."""
        call = {"framework_id": self.framework_id, "type": kind}
        if body is not None:
            call[kind.lower()] = body
        connection = http.client.HTTPConnection(self.master, timeout=TIMEOUT_SECONDS)
        headers = {**HEADERS, "Mesos-Stream-Id": self.stream_id}
        connection.request("POST", "/api/v1/scheduler", json.dumps(call), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status != status:
            sys.exit(f"{kind}: {answer.status} {text}")


def scalar(name, value):
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


def task(name, command, agent_id):
    return {
        "name": name,
        "task_id": {"value": name},
        "agent_id": agent_id,
        "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
        "command": {"shell": True, "value": command},
    }


def offered(offer, name):
    return sum(r["scalar"]["value"] for r in offer["resources"] if r["name"] == name)


def main(master):
    stream = Stream(
        master,
        {"user": "root", "name": "http_framework.py", "roles": ["*"], "capabilities": [{"type": "MULTI_ROLE"}]},
    )
    print("subscribed as", stream.framework_id["value"])
    expected = {"good": "TASK_FINISHED", "bad": "TASK_FAILED"}
    states, launched, reconciled = {}, False, False
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not reconciled:
        if time.monotonic() > deadline:
            sys.exit(f"not done within {TIMEOUT_SECONDS} s; states: {states}")
        event = stream.next()
        if event["type"] == "OFFERS":
            for offer in event["offers"]["offers"]:
                if launched or offered(offer, "cpus") < 0.2 or offered(offer, "mem") < 64:
                    stream.call("DECLINE", {"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 60}})
                    continue
                infos = [task("good", "echo hello", offer["agent_id"]), task("bad", "exit 3", offer["agent_id"])]
                operation = {"type": "LAUNCH", "launch": {"task_infos": infos}}
                stream.call("ACCEPT", {"offer_ids": [offer["id"]], "operations": [operation]})
                launched = True
        elif event["type"] == "UPDATE":
            status = event["update"]["status"]
            name, state = status["task_id"]["value"], status["state"]
            print(name, state, status.get("reason", ""), status.get("message", ""))
            reconciled = status.get("reason") == "REASON_RECONCILIATION"
            if reconciled and name != "never-launched":
                sys.exit(f"{name} was not asked about")
            if not reconciled:
                states[name] = state
            if "uuid" in status:
                acknowledge = {"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]}
                stream.call("ACKNOWLEDGE", acknowledge)
            if states == expected and not reconciled:
                stream.call("RECONCILE", {"tasks": [{"task_id": {"value": "never-launched"}}]})
        elif event["type"] == "ERROR":
            sys.exit(event["error"]["message"])
    # Without PARTITION_AWARE a task that nobody knows is lost.
    if state != "TASK_LOST":
        sys.exit(f"a task that was never launched is {state}")
    stream.call("TEARDOWN")
    print("ok")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
