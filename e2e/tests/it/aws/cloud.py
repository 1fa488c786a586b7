"""What the hosts of a cluster ask AWS for: packages and logs in S3, files in Secrets Manager, join tokens in the Parameter
Store, and instances in Auto Scaling groups, by moto's server. Lifecycle hooks moto only writes down; here an instance
waits in them as in AWS.

    cloud.py CONFIG.json INSTANCES.json    serves until it is killed; the configuration says what there is at the start,
                                           and the other file is written once all is there: instances by their group
"""

import json
import os
import signal
import sys

import boto3
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.responses import AutoScalingResponse
from moto.backends import get_backend
from moto.core.responses import EmptyResult
from moto.server import ThreadedMotoServer

config = json.load(open(sys.argv[1], encoding="utf-8"))
account = "123456789012"
# By group, its hooks by the state in which an instance waits for them.
hooks = {}


def groups():
    return get_backend("autoscaling")[account][config["region"]].autoscaling_groups


def waiting(response):
    """The group and the state of an instance that waits in the hook that is named."""
    parameters = {name: response._get_param(name) for name in ("AutoScalingGroupName", "InstanceId", "LifecycleHookName")}
    group = groups().get(parameters["AutoScalingGroupName"])
    for state in group.instance_states if group else []:
        if state.instance.id == parameters["InstanceId"]:
            if hooks[group.name].get(state.lifecycle_state) == parameters["LifecycleHookName"]:
                return group, state
    raise ValidationError(f"No active Lifecycle Action found with {parameters}")


def complete_lifecycle_action(response):
    group, state = waiting(response)
    if response._get_param("LifecycleActionResult") != "CONTINUE":
        raise ValidationError("these instances are to go on")
    if state.lifecycle_state == "Pending:Wait":
        state.lifecycle_state = "InService"
    else:
        group.instance_states.remove(state)
    return EmptyResult()


def record_lifecycle_action_heartbeat(response):
    waiting(response)
    return EmptyResult()


def terminate_instance_in_auto_scaling_group(response):
    for group in groups().values():
        for state in group.instance_states:
            if state.instance.id == response._get_param("InstanceId"):
                state.lifecycle_state = "Terminating:Wait"
    return EmptyResult()


for method in (complete_lifecycle_action, record_lifecycle_action_heartbeat, terminate_instance_in_auto_scaling_group):
    setattr(AutoScalingResponse, method.__name__, method)

server = ThreadedMotoServer(ip_address=config["address"], port=config["port"], verbose=False)
server.start()


def client(service):
    return boto3.client(
        service,
        endpoint_url=f"http://{config['address']}:{config['port']}",
        region_name=config["region"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


s3, secrets, scaling = client("s3"), client("secretsmanager"), client("autoscaling")
for bucket in config["buckets"]:
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": config["region"]})
for name, path in config["objects"].items():
    bucket, key = name.split("/", 1)
    s3.upload_file(path, bucket, key)
for name, value in config["secrets"].items():
    secrets.create_secret(Name=name, SecretString=value)

image = client("ec2").describe_images()["Images"][0]["ImageId"]
scaling.create_launch_configuration(LaunchConfigurationName="any", ImageId=image, InstanceType="t3.medium")
instances = {}
for name, group in config["groups"].items():
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName="any",
        MinSize=0,
        MaxSize=10,
        DesiredCapacity=group["size"],
        AvailabilityZones=[config["region"] + "a"],
        Tags=[{"Key": key, "Value": value} for key, value in group["tags"].items()],
    )
    hooks[name] = group["hooks"]
    for state in groups()[name].instance_states:
        state.lifecycle_state = "Pending:Wait"
    instances[name] = [state.instance.id for state in groups()[name].instance_states]

with open(sys.argv[2] + ".new", "w", encoding="utf-8") as file:
    json.dump(instances, file)
os.rename(sys.argv[2] + ".new", sys.argv[2])
signal.pause()
