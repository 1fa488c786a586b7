"""A task over gRPC, with a client that is generated from proto/ when it starts.

    python3 grpc_task.py <host:port>

Opens Scheduler.Connect, subscribes, launches one task from an offer, acknowledges its updates (one on
the stream, the others through the unary Call), and exits with 0 on TASK_FINISHED.
Needs grpcio and grpcio-tools.
"""

import os
import pathlib
import queue
import sys
import tempfile
import threading

import grpc
import grpc_tools
from grpc_tools import protoc

TIMEOUT_SECONDS = 60
PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
# Google's own types (Duration), which come with grpcio-tools.
WELL_KNOWN = pathlib.Path(grpc_tools.__file__).parent / "_proto"


def generate(directory):
    """Generates Python for every .proto of the contract and makes it importable."""
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    includes = [f"--proto_path={PROTO}", f"--proto_path={WELL_KNOWN}"]
    options = [*includes, f"--python_out={directory}", f"--grpc_python_out={directory}"]
    if protoc.main(["protoc", *options, *files]) != 0:
        sys.exit("proto/ could not be compiled")
    sys.path.insert(0, directory)


def main(master):
    with tempfile.TemporaryDirectory() as directory:
        generate(directory)
        run(master)


def run(master):
    from mesos.services.v1 import scheduler_pb2_grpc
    from mesos.v1 import mesos_pb2 as mesos
    from mesos.v1.scheduler import scheduler_pb2 as scheduler

    channel = grpc.insecure_channel(master)
    grpc.channel_ready_future(channel).result(timeout=TIMEOUT_SECONDS)
    stub = scheduler_pb2_grpc.SchedulerStub(channel)

    info = mesos.FrameworkInfo(user="root", name="grpc_task.py", roles=["*"])
    info.capabilities.add(type=mesos.FrameworkInfo.Capability.MULTI_ROLE)
    subscribe = scheduler.Call(type=scheduler.Call.SUBSCRIBE)
    subscribe.subscribe.framework_info.CopyFrom(info)
    calls = queue.SimpleQueue()
    calls.put(subscribe)

    # gRPC reads calls from this iterator for as long as the stream is open.
    events = stub.Connect(iter(calls.get, None), timeout=TIMEOUT_SECONDS)
    stream_id = dict(events.initial_metadata()).get("mesos-stream-id")
    if not stream_id:
        sys.exit("the answer has no mesos-stream-id")

    framework_id, launched, acknowledged = None, False, 0

    def call(kind):
        return scheduler.Call(type=kind, framework_id=framework_id)

    for event in events:
        if event.type == scheduler.Event.SUBSCRIBED:
            framework_id = event.subscribed.framework_id
            print("subscribed as", framework_id.value)
        elif event.type == scheduler.Event.OFFERS:
            for offer in event.offers.offers:
                if launched:
                    decline = call(scheduler.Call.DECLINE)
                    decline.decline.offer_ids.append(offer.id)
                    calls.put(decline)
                    continue
                calls.put(accept(mesos, call(scheduler.Call.ACCEPT), offer))
                launched = True
        elif event.type == scheduler.Event.UPDATE:
            status = event.update.status
            print(status.task_id.value, mesos.TaskState.Name(status.state), status.message)
            if status.uuid:
                acknowledge = call(scheduler.Call.ACKNOWLEDGE)
                acknowledge.acknowledge.agent_id.CopyFrom(status.agent_id)
                acknowledge.acknowledge.task_id.CopyFrom(status.task_id)
                acknowledge.acknowledge.uuid = status.uuid
                if acknowledged == 0:
                    calls.put(acknowledge)
                else:
                    stub.Call(acknowledge, metadata=[("mesos-stream-id", stream_id)], timeout=TIMEOUT_SECONDS)
                acknowledged += 1
            if status.state == mesos.TASK_FINISHED:
                stub.Call(call(scheduler.Call.TEARDOWN), metadata=[("mesos-stream-id", stream_id)], timeout=TIMEOUT_SECONDS)
                calls.put(None)
                print(f"ok: {acknowledged} updates acknowledged")
                return
            if status.state not in (mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING):
                sys.exit(f"the task is {mesos.TaskState.Name(status.state)}: {status.message}")
        elif event.type == scheduler.Event.ERROR:
            sys.exit(event.error.message)
    sys.exit("the stream ended")


def accept(mesos, call, offer):
    """Fills in an ACCEPT that launches one task on the offer."""
    call.accept.offer_ids.append(offer.id)
    operation = call.accept.operations.add(type=mesos.Offer.Operation.LAUNCH)
    task = operation.launch.task_infos.add(name="hello", task_id=mesos.TaskID(value="hello"), agent_id=offer.agent_id)
    for name, value in (("cpus", 0.1), ("mem", 32)):
        task.resources.add(name=name, type=mesos.Value.SCALAR, scalar=mesos.Value.Scalar(value=value))
    task.command.shell = True
    task.command.value = "echo hello"
    return call


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    # Whatever hangs, the test that runs this must not.
    watchdog = threading.Timer(TIMEOUT_SECONDS + 10, lambda: os._exit(3))
    watchdog.daemon = True
    watchdog.start()
    main(sys.argv[1])
