"""Asks models with the vendors' own SDKs through a gateway: `model_sdks.py http://127.0.0.1:8000`.

At the gateway, requests with the header `x-slow` have a limit of 100 tokens a day, and all have one
of 2,000 tokens that come back within two seconds. Prints nothing if all is as it should be.
"""

import sys

import anthropic
import openai
from google import genai
from google.genai import errors, types

BASE = sys.argv[1]
MESSAGES = [{"role": "user", "content": "Hi"}]
SLOW = {"x-slow": "1"}


def chat(client, max_tokens=50, **more):
    return client.chat.completions.create(
        model="small", messages=MESSAGES, max_tokens=max_tokens, **more
    )


def denied(kind, ask):
    """Asks until a limit denies it, and returns the exception."""
    for _ in range(5):
        try:
            ask()
        except kind as error:
            return error
    raise AssertionError("no limit denies it")


def test_openai():
    client = openai.OpenAI(api_key="openai-key", base_url=f"{BASE}/v1", max_retries=0)
    assert chat(client).usage.total_tokens > 0
    chunks = list(chat(client, stream=True))
    assert chunks and all(chunk.choices and chunk.usage is None for chunk in chunks), chunks
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.total_tokens > 0, chunks
    ask = dict(model="small", input="Hi", max_output_tokens=50)
    assert client.responses.create(**ask).usage.total_tokens > 0
    events = list(client.responses.create(**ask, stream=True))
    assert events[-1].type == "response.completed", events
    embeddings = client.embeddings.create(model="small", input="Hi", encoding_format="float")
    assert embeddings.usage.total_tokens > 0
    try:
        chat(client, max_tokens=-1)
        raise AssertionError("a limit below 0 is accepted")
    except openai.BadRequestError as error:
        assert error.param == "max_tokens", error.body

    retrying = client.with_options(max_retries=3)
    error = denied(openai.RateLimitError, lambda: chat(retrying, 90, extra_headers=SLOW))
    assert error.code == "rate_limit_exceeded", error.body
    # A client that waited for a day, or tried again, would not be here.
    assert error.response.headers["x-should-retry"] == "false", error.response.headers
    for _ in range(3):
        # Each needs nearly the whole burst, and so waits as long as it is told.
        chat(retrying, 1_900)


def test_anthropic():
    client = anthropic.Anthropic(api_key="anthropic-key", base_url=BASE, max_retries=0)
    ask = dict(model="small", messages=MESSAGES)
    assert client.messages.create(max_tokens=50, **ask).usage.output_tokens > 0
    with client.messages.stream(max_tokens=50, **ask) as stream:
        assert stream.get_final_message().usage.output_tokens > 0
    try:
        client.messages.create(max_tokens=-1, **ask)
        raise AssertionError("a limit below 0 is accepted")
    except anthropic.BadRequestError as error:
        assert error.body["error"]["type"] == "invalid_request_error", error.body
    retrying = client.with_options(max_retries=3)
    error = denied(
        anthropic.RateLimitError,
        lambda: retrying.messages.create(max_tokens=90, extra_headers=SLOW, **ask),
    )
    assert error.body["error"]["type"] == "rate_limit_error", error.body
    assert error.response.headers["x-should-retry"] == "false", error.response.headers


def test_gemini():
    client = genai.Client(api_key="gemini-key", http_options=types.HttpOptions(base_url=BASE))
    slow = genai.Client(
        api_key="gemini-key", http_options=types.HttpOptions(base_url=BASE, headers=SLOW)
    )
    ask = dict(model="small", contents="Hi", config={"max_output_tokens": 90})
    assert client.models.generate_content(**ask).usage_metadata.total_token_count > 0
    chunks = list(client.models.generate_content_stream(**ask))
    assert chunks[-1].usage_metadata.total_token_count > 0, chunks
    error = denied(errors.ClientError, lambda: slow.models.generate_content(**ask))
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED"), error


test_openai()
test_anthropic()
test_gemini()
