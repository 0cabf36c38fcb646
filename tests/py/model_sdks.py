"""Asks models with the vendors' own SDKs for Python through a gateway:

    python model_sdks.py http://127.0.0.1:8000

`tests/js/model_sdks.js` does the same in JavaScript. Each request is named in the header field
`x-call`, for whoever records it. At the gateway, requests with `x-slow` have a limit of 100 tokens,
which come back within a day, and those with `x-soon` one of a request every few seconds. Prints
nothing if all is as it should be.
"""

import base64
import sys
from threading import Thread

import anthropic
import openai
from google import genai
from google.genai import errors, types

BASE = sys.argv[1]
QUESTION = "When is high water?"
MESSAGES = [{"role": "user", "content": QUESTION}]
PORTS = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(99)
PNG_TEXT = base64.b64encode(PNG).decode()
IMAGE = {"url": f"data:image/png;base64,{PNG_TEXT}", "detail": "low"}


def fields(call, limit):
    """Header fields that name a request for whoever records it, and select a limit."""
    return {"x-call": call, **({f"x-{limit}": "1"} if limit else {})}


def rejected(kind, ask):
    """Returns the exception that a request must end with."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError("the request is not refused")


def test_openai():
    client = openai.OpenAI(api_key="openai-python", base_url=f"{BASE}/v1", max_retries=0)

    def named(call, limit=None):
        return {"extra_headers": fields(f"openai-python:{call}", limit)}

    chat = client.chat.completions.create
    short = {"model": "small-1", "messages": MESSAGES, "max_tokens": 50}
    function = {"name": "tide_table", "arguments": '{"port":"Saint-Malo"}'}
    whole = chat(
        model="small-1",
        messages=[
            {"role": "system", "content": "Answer briefly."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "When is high water in Saint-Malo – today?"},
                    {"type": "image_url", "image_url": IMAGE},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "06:12 and 18:40"},
        ],
        max_completion_tokens=300,
        n=2,
        temperature=0.2,
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "tide_table",
                    "description": "High and low water of a port",
                    "parameters": PORTS,
                },
            }
        ],
        **named("chat"),
    )
    assert whole.usage.total_tokens > 0, whole
    chunks = list(chat(**short, stream=True, **named("chat_stream")))
    assert chunks and all(chunk.choices and chunk.usage is None for chunk in chunks), chunks
    chunks = list(
        chat(
            model="small-1",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
            **named("chat_stream_with_usage"),
        )
    )
    assert chunks[-1].usage.total_tokens > 0, chunks
    completion = client.completions.create(
        model="small-1",
        prompt=["High water is", "Low water is"],
        best_of=3,
        max_tokens=20,
        n=2,
        **named("completions"),
    )
    assert completion.usage.total_tokens > 0, completion
    response = client.responses.create(model="small-1", input=QUESTION, **named("responses"))
    assert response.usage.total_tokens > 0, response
    image = {"type": "input_image", "image_url": IMAGE["url"], "detail": "low"}
    events = list(
        client.responses.create(
            model="small-1",
            instructions="Answer briefly.",
            input=[{"role": "user", "content": [{"type": "input_text", "text": QUESTION}, image]}],
            max_output_tokens=200,
            stream=True,
            **named("responses_stream"),
        )
    )
    assert events[-1].type == "response.completed", events
    texts = ["high water", "low water"]
    embeddings = client.embeddings.create(model="vec-1", input=texts, **named("embeddings"))
    assert embeddings.usage.total_tokens > 0, embeddings
    images = client.images.generate(model="pic-1", prompt="a tide mill", n=2, **named("images"))
    assert images.usage.total_tokens > 0, images
    speech = client.audio.speech.create(
        model="say-1", input="High water at six.", voice="any", **named("speech")
    )
    assert speech.content

    wrong = {**short, "max_tokens": -1}
    error = rejected(openai.BadRequestError, lambda: chat(**wrong, **named("chat_wrong")))
    assert error.param == "max_tokens", error.body

    patient = client.with_options(max_retries=3).chat.completions.create
    long = {**short, "max_tokens": 90}
    patient(**long, **named("chat_slow", "slow"))
    for stream, call in [(False, "chat_denied"), (True, "chat_stream_denied")]:
        error = rejected(
            openai.RateLimitError, lambda: patient(**long, stream=stream, **named(call, "slow"))
        )
        assert (error.code, error.type) == ("rate_limit_exceeded", "tokens"), error.body
        assert error.response.headers["x-should-retry"] == "false", error.response.headers
    patient(**short, **named("chat_soon", "soon"))
    patient(**short, **named("chat_waits", "soon"))


def test_anthropic():
    client = anthropic.Anthropic(api_key="anthropic-python", base_url=BASE, max_retries=0)

    def named(call, limit=None):
        return {"extra_headers": fields(f"anthropic-python:{call}", limit)}

    short = {"model": "small-1", "messages": MESSAGES, "max_tokens": 50}
    image = {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}
    document = {"type": "text", "media_type": "text/plain", "data": "06:12 and 18:40"}
    result = {"tool_use_id": "t1", "content": [{"type": "text", "text": "07:00"}]}
    whole = client.messages.create(
        model="small-1",
        max_tokens=400,
        system=[
            {"type": "text", "text": "Answer briefly.", "cache_control": {"type": "ephemeral"}}
        ],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": image},
                    {"type": "document", "source": document},
                    {"type": "text", "text": QUESTION},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "t1",
                        "name": "tide_table",
                        "input": {"port": "Brest"},
                    }
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", **result}]},
        ],
        tools=[
            {"name": "tide_table", "description": "High and low water", "input_schema": PORTS}
        ],
        **named("messages"),
    )
    assert whole.usage.output_tokens > 0, whole
    with client.messages.stream(**short, **named("messages_stream")) as stream:
        assert stream.get_final_message().usage.output_tokens > 0
    wrong = {**short, "max_tokens": -1}
    create = client.messages.create
    error = rejected(anthropic.BadRequestError, lambda: create(**wrong, **named("messages_wrong")))
    assert error.body["error"]["type"] == "invalid_request_error", error.body

    patient = client.with_options(max_retries=3).messages.create
    long = {**short, "max_tokens": 90}
    patient(**long, **named("messages_slow", "slow"))
    for stream, call in [(False, "messages_denied"), (True, "messages_stream_denied")]:
        error = rejected(
            anthropic.RateLimitError,
            lambda: patient(**long, stream=stream, **named(call, "slow")),
        )
        assert error.body["error"]["type"] == "rate_limit_error", error.body
        assert error.response.headers["x-should-retry"] == "false", error.response.headers
    patient(**short, **named("messages_soon", "soon"))
    patient(**short, **named("messages_waits", "soon"))


def test_genai():
    client = genai.Client(api_key="genai-python", http_options=types.HttpOptions(base_url=BASE))

    def named(call, limit=None):
        return {"http_options": {"headers": fields(f"genai-python:{call}", limit)}}

    def ask(contents, config):
        return client.models.generate_content(model="small-2", contents=contents, config=config)

    picture = types.Part.from_bytes(data=PNG, mime_type="image/png")
    whole = ask(
        [types.Content(role="user", parts=[types.Part(text=QUESTION), picture])],
        {
            "system_instruction": "Answer briefly.",
            "temperature": 0.1,
            "candidate_count": 2,
            "max_output_tokens": 250,
            "response_mime_type": "application/json",
            "response_schema": {"type": "OBJECT", "properties": {"time": {"type": "STRING"}}},
            **named("generate"),
        },
    )
    assert whole.usage_metadata.total_token_count > 0, whole
    chunks = list(
        client.models.generate_content_stream(
            model="small-2", contents=QUESTION, config=named("generate_stream")
        )
    )
    assert chunks[-1].usage_metadata.total_token_count > 0, chunks
    embedded = client.models.embed_content(
        model="vec-2", contents=["high water", "low water"], config=named("embed")
    )
    assert embedded.embeddings, embedded
    wrong = {"max_output_tokens": -1, **named("generate_wrong")}
    error = rejected(errors.ClientError, lambda: ask(QUESTION, wrong))
    assert (error.code, error.status) == (400, "INVALID_ARGUMENT"), error

    ask(QUESTION, {"max_output_tokens": 90, **named("generate_slow", "slow")})
    again = {"max_output_tokens": 90, **named("generate_denied", "slow")}
    error = rejected(errors.ClientError, lambda: ask(QUESTION, again))
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED"), error


def main():
    """Runs all SDKs at once, since most of the time they wait."""
    failed = []

    def run(test):
        try:
            test()
        except BaseException:
            failed.append(test)
            raise

    tests = [Thread(target=run, args=[test]) for test in (test_openai, test_anthropic, test_genai)]
    for test in tests:
        test.start()
    for test in tests:
        test.join()
    sys.exit(1 if failed else 0)


main()
