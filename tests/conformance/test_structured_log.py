"""``init(logging_config=...)``: what driver and workers log, with ids."""

from __future__ import annotations

import json

import pytest

PROGRAM = """
import logging
ray.init(num_cpus=1, include_dashboard=False, logging_config=ray.LoggingConfig({arguments}))

def tell(words):
    context = ray.get_runtime_context()
    in_worker = words != "the driver"
    ids = {{
        "job_id": context.get_job_id(), "worker_id": context.get_worker_id(), "node_id": context.get_node_id(),
        "task_id": context.get_task_id() if in_worker else None, "actor_id": context.get_actor_id() if in_worker else None,
    }}
    logging.getLogger("mine").info(f"ids of {{words}}", extra={{"ids": ids}})

@ray.remote
def task():
    logging.getLogger("mine").info("from the task")
    tell("the task")
    logging.getLogger("mine").debug("not to be seen")

@ray.remote
class Actor:
    def method(self):
        logging.getLogger("mine").info("from the actor", extra={{"colour": "red"}})
        tell("the actor")
        try:
            raise KeyError("a wrong key")
        except KeyError:
            logging.getLogger("mine").exception("with an error")

logging.getLogger("mine").info("from the driver")
tell("the driver")
ray.get(task.remote())
actor = Actor.remote()
ray.get(actor.method.remote())
print("done", flush=True)
input()
"""


@pytest.fixture(scope="module")
def json_lines(start_module_program):
    program = start_module_program(PROGRAM.format(arguments="encoding='JSON', additional_log_standard_attrs=['name']"))
    found = {}
    told = [f"{start} the {words}" for words in ("driver", "task", "actor") for start in ("from", "ids of")]
    for words in [*told, "with an error"]:
        line = program.expect(words, "stderr").string
        found[words] = json.loads(line[line.index("{") :])
    program.expect("done")
    program.finish()
    return found


def test_records_are_json_with_what_the_logging_module_knows(json_lines):
    record = json_lines["from the driver"]
    assert record["message"] == "from the driver"
    assert record["levelname"] == "INFO"
    assert record["filename"].endswith(".py")
    assert isinstance(record["lineno"], int)
    assert isinstance(record["timestamp_ns"], int)
    assert record["asctime"]
    assert record["name"] == "mine"
    assert isinstance(record["process"], int)


def test_records_carry_ids_of_their_process(json_lines):
    driver, task, actor = (json_lines[f"from the {words}"] for words in ("driver", "task", "actor"))
    assert driver["job_id"] == task["job_id"] == actor["job_id"]
    assert driver["node_id"] == task["node_id"] == actor["node_id"]
    assert driver["worker_id"] not in (task["worker_id"], actor["worker_id"])
    assert not {"actor_id", "task_id", "task_name"} & set(driver)
    assert "actor_id" not in task
    assert actor["actor_id"]
    assert task["task_name"] == "task"
    assert task["task_id"] != actor["task_id"]
    assert actor["task_name"].endswith("method")


def test_ids_are_those_of_the_runtime_context(json_lines):
    for words in ("driver", "task", "actor"):
        record = json_lines[f"from the {words}"]
        told = json_lines[f"ids of the {words}"]
        ids = ("job_id", "worker_id", "node_id", "actor_id", "task_id")
        assert {name: record.get(name) for name in ids} == {name: told["ids"][name] for name in ids}


def test_extra_of_a_record_and_its_error_are_there(json_lines):
    assert json_lines["from the actor"]["colour"] == "red"
    assert "KeyError: 'a wrong key'" in json_lines["with an error"]["exc_text"]


def test_text_has_the_ids_behind_the_message(start_program):
    program = start_program(PROGRAM.format(arguments="log_level='DEBUG'"))
    match = program.expect(r"INFO \S+\.py:\d+ -- from the task (.*)", "stderr")
    assert {"job_id", "worker_id", "node_id", "task_name"} <= {pair.split("=")[0] for pair in match[1].split()}
    program.expect("-- not to be seen", "stderr")
    program.finish()
