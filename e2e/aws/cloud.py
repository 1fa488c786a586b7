"""A stub of as much of AWS as the hosts of terraform/ ask: metadata of instances, S3, Secrets Manager, Parameter Store,
Auto Scaling. It is one process on a test host; who asks is known by the address. What IAM would refuse it refuses too:
an instance reads the secret of its own role and the parameter that is tagged with itself.

The state is one JSON document: GET /state, and PUT /state to merge into it (for the test).
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
STATE = {"instances": {}, "secrets": {}, "objects": {}, "parameters": {}, "groups": {}, "actions": [], "synced": [], "agents": {}}


class Refused(Exception):
    """What the CLI prints to standard error, with exit code 254."""


def options(args):
    """`--name value …` as a dictionary; of several values of one option the list."""
    found, name = {}, None
    for arg in args:
        if arg.startswith("--"):
            name = arg[2:]
            found[name] = []
        elif name is not None:
            found[name].append(arg)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def pairs(values):
    """`Key=a,Value=b Key=c,Value=d` as a dictionary."""
    values = [values] if isinstance(values, str) else values
    parsed = (dict(part.split("=", 1) for part in value.split(",")) for value in values)
    return {one.get("Key", one.get("Name")): one.get("Value", one.get("Values")) for one in parsed}


def secret(who, given, _stdin):
    name = given["secret-id"]
    if name.split("/")[-1] != who["role"]:
        raise Refused(f"AccessDeniedException: {who['role']} may not read {name}")
    return json.dumps(STATE["secrets"][name]) + "\n"


def get_parameter(who, given, _stdin):
    found = STATE["parameters"].get(given["name"])
    if found is None:
        raise Refused("ParameterNotFound")
    if found["tags"].get("for") != f"{STATE['agents']['role_id']}:{who['id']}":
        raise Refused(f"AccessDeniedException: {given['name']} is not for {who['id']}")
    return found["value"] + "\n"


def put_parameter(who, given, stdin):
    if who["role"] != "keeper":
        raise Refused("AccessDeniedException")
    if given["name"] in STATE["parameters"]:
        raise Refused("ParameterAlreadyExists")
    if given["value"] != "file:///dev/stdin" or given["type"] != "SecureString":
        raise Refused("ValidationException: the value is to be a SecureString from standard input")
    STATE["parameters"][given["name"]] = {"value": stdin.strip(), "tags": pairs(given["tags"])}
    return "{}\n"


def delete_parameter(who, given, _stdin):
    if who["role"] != "keeper":
        raise Refused("AccessDeniedException")
    if STATE["parameters"].pop(given["name"], None) is None:
        raise Refused("ParameterNotFound")
    return ""


def describe_groups(_who, given, _stdin):
    wanted = {name.removeprefix("tag:"): value for name, value in pairs(given["filters"]).items()}
    groups = [
        {"AutoScalingGroupName": name, "Instances": [{"InstanceId": i, "LifecycleState": s} for i, s in group["instances"].items()]}
        for name, group in STATE["groups"].items()
        if all(group["tags"].get(tag) == value for tag, value in wanted.items())
    ]
    return json.dumps({"AutoScalingGroups": groups})


def complete(who, given, _stdin):
    if who["role"] != "keeper":
        raise Refused("AccessDeniedException")
    instances = STATE["groups"][given["auto-scaling-group-name"]]["instances"]
    state = instances[given["instance-id"]]
    if (given["lifecycle-hook-name"], state) not in (("joined", "Pending:Wait"), ("drained", "Terminating:Wait")):
        raise Refused(f"ValidationError: no active lifecycle action, the instance is {state}")
    if state == "Pending:Wait":
        instances[given["instance-id"]] = "InService"
    else:
        del instances[given["instance-id"]]
    return ""


def heartbeat(_who, given, _stdin):
    if STATE["groups"][given["auto-scaling-group-name"]]["instances"][given["instance-id"]] != "Terminating:Wait":
        raise Refused("ValidationError: no active lifecycle action")
    return ""


def copy(_who, source):
    if source not in STATE["objects"]:
        raise Refused(f"fatal error: {source} is not there, or nobody may read it")
    with open(STATE["objects"][source], "rb") as file:
        return file.read()


COMMANDS = {
    ("secretsmanager", "get-secret-value"): secret,
    ("ssm", "get-parameter"): get_parameter,
    ("ssm", "put-parameter"): put_parameter,
    ("ssm", "delete-parameter"): delete_parameter,
    ("autoscaling", "describe-auto-scaling-groups"): describe_groups,
    ("autoscaling", "complete-lifecycle-action"): complete,
    ("autoscaling", "record-lifecycle-action-heartbeat"): heartbeat,
}


def run(who, args, stdin):
    """One command of the CLI: what it prints, and for `s3 cp` what it writes."""
    if args[:2] == ["s3", "cp"]:
        source, _target = [arg for arg in args[2:] if not arg.startswith("--")]
        return "", copy(who, source)
    if args[:2] == ["s3", "sync"]:
        STATE["synced"].append([who["id"], args[-1]])
        return "", None
    command = COMMANDS.get(tuple(args[:2]))
    if command is None:
        raise Refused(f"this stub of AWS has no {args[:2]}")
    STATE["actions"].append([who["id"], *args[:2]])
    return command(who, options(args[2:]), stdin), None


class Handler(BaseHTTPRequestHandler):
    def answer(self, code, body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        if self.path == "/state":
            with LOCK:
                return self.answer(200, json.dumps(STATE).encode())
        who = STATE["instances"].get(self.client_address[0])
        if self.headers.get("X-aws-ec2-metadata-token") != "a-session" or who is None:
            return self.answer(401, b"no session, or no instance")
        found = {
            "instance-id": who["id"],
            "local-ipv4": self.client_address[0],
            "instance-type": "m6i.large",
            "placement/availability-zone": "eu-central-1a",
            "placement/region": "eu-central-1",
        }.get(self.path.removeprefix("/latest/meta-data/"))
        return self.answer(404, b"") if found is None else self.answer(200, found.encode())

    def do_PUT(self):
        if self.path == "/latest/api/token":
            return self.answer(200, b"a-session")
        given = json.loads(self.body())
        with LOCK:
            for name, value in given.items():
                STATE[name].update(value)
        return self.answer(200, b"")

    def do_POST(self):
        given = json.loads(self.body())
        who = STATE["instances"].get(self.client_address[0], {"id": "nobody", "role": "nobody"})
        answer = {"code": 0, "stdout": "", "stderr": "", "file": None}
        with LOCK:
            try:
                answer["stdout"], file = run(who, given["args"], given["stdin"])
                if file is not None:
                    answer["file"] = base64.b64encode(file).decode()
            except Refused as refused:
                answer.update(code=254, stderr=f"{refused}\n")
            except (KeyError, ValueError) as error:
                answer.update(code=252, stderr=f"not as the stub of AWS expects it: {error!r}\n")
        return self.answer(200, json.dumps(answer).encode())

    def log_message(self, *_args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
