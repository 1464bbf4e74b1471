"""bespokelabs-curator on rows of messages: a JSON line of its seconds.

    python curator_expand.py URL ROWS.jsonl SLOTS FOLDER

Runs in an environment of its own (see Makefile) and knows nothing of fiatkit. Its cache is in
FOLDER; the limits of requests and tokens a minute are set out of the way, as a user would who
knows the endpoint.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

url, rows, slots, folder = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.environ["CURATOR_CACHE_DIR"] = folder
os.environ["OPENAI_API_KEY"] = "none"
os.environ["TELEMETRY_ENABLED"] = "false"

from bespokelabs import curator  # noqa: E402
from datasets import Dataset  # noqa: E402


class Writer(curator.LLM):
    def prompt(self, input):
        return json.loads(input["messages"])

    def parse(self, input, response):
        return {"id": input["id"], "text": response}


values = [json.loads(line) for line in rows.read_text().splitlines()]
data = Dataset.from_list(
    [{"id": value["id"], "messages": json.dumps(value["messages"])} for value in values]
)
writer = Writer(
    model_name="m",
    backend="openai",
    backend_params={
        "base_url": url,
        "api_key": "none",
        "max_requests_per_minute": 1_000_000,
        "max_tokens_per_minute": 10_000_000_000,
        "max_concurrent_requests": slots,
        "max_retries": 0,
    },
    generation_params={"max_tokens": 96, "temperature": 0},
)
began, cpu = time.perf_counter(), time.process_time()
answers = writer(data)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
count = len(getattr(answers, "dataset", answers))
assert count == len(values), count
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "early": None, "end": peak}), flush=True)
