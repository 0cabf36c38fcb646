// Asks models with the vendors' own SDKs for JavaScript through a gateway:
//
//     node model_sdks.js http://127.0.0.1:8000
//
// `tests/py/model_sdks.py` does the same in Python, and says which limits the gateway must have and
// how requests are named. Prints nothing if all is as it should be.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { ApiError, GoogleGenAI } from "@google/genai";
import OpenAI from "openai";

const BASE = process.argv[2];
const QUESTION = "When is high water?";
const MESSAGES = [{ role: "user", content: QUESTION }];
const PORTS = { type: "object", properties: { port: { type: "string" } }, required: ["port"] };
const PNG = Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), Buffer.alloc(99)]).toString(
    "base64",
);
const IMAGE = { url: `data:image/png;base64,${PNG}`, detail: "low" };

/** Header fields that name a request for whoever records it, and select a limit. */
function fields(call, limit) {
    return { "x-call": call, ...(limit && { [`x-${limit}`]: "1" }) };
}

async function collected(stream) {
    const items = [];
    for await (const item of await stream) items.push(item);
    return items;
}

/** Returns the error of this class that a request must end with. */
async function rejected(kind, promise) {
    try {
        await promise;
    } catch (error) {
        assert.ok(error instanceof kind, error);
        return error;
    }
    assert.fail("the request is not refused");
}

async function openai() {
    const client = new OpenAI({ apiKey: "openai-node", baseURL: `${BASE}/v1`, maxRetries: 0 });
    const named = (call, limit) => ({ headers: fields(`openai-node:${call}`, limit) });
    const chat = (body, options) => client.chat.completions.create(body, options);
    const short = { model: "small-1", messages: MESSAGES, max_tokens: 50 };

    const whole = await chat(
        {
            model: "small-1",
            messages: [
                { role: "system", content: "Answer briefly." },
                {
                    role: "user",
                    content: [
                        { type: "text", text: "When is high water in Saint-Malo – today?" },
                        { type: "image_url", image_url: IMAGE },
                    ],
                },
                {
                    role: "assistant",
                    content: null,
                    tool_calls: [
                        {
                            id: "c1",
                            type: "function",
                            function: { name: "tide_table", arguments: '{"port":"Saint-Malo"}' },
                        },
                    ],
                },
                { role: "tool", tool_call_id: "c1", content: "06:12 and 18:40" },
            ],
            max_completion_tokens: 300,
            n: 2,
            temperature: 0.2,
            tools: [
                {
                    type: "function",
                    function: {
                        name: "tide_table",
                        description: "High and low water of a port",
                        parameters: PORTS,
                    },
                },
            ],
        },
        named("chat"),
    );
    assert.ok(whole.usage.total_tokens > 0, whole);
    let chunks = await collected(chat({ ...short, stream: true }, named("chat_stream")));
    assert.ok(chunks.length > 0 && chunks.every((chunk) => chunk.choices.length && !chunk.usage));
    const asks = { model: "small-1", messages: MESSAGES, stream_options: { include_usage: true } };
    const with_usage = named("chat_stream_with_usage");
    chunks = await collected(chat({ ...asks, stream: true }, with_usage));
    assert.ok(chunks.at(-1).usage.total_tokens > 0, chunks.at(-1));

    const completion = await client.completions.create(
        {
            model: "small-1",
            prompt: ["High water is", "Low water is"],
            best_of: 3,
            max_tokens: 20,
            n: 2,
        },
        named("completions"),
    );
    assert.ok(completion.usage.total_tokens > 0, completion);
    const response = await client.responses.create(
        { model: "small-1", input: QUESTION },
        named("responses"),
    );
    assert.ok(response.usage.total_tokens > 0, response);
    const events = await collected(
        client.responses.create(
            {
                model: "small-1",
                instructions: "Answer briefly.",
                input: [
                    {
                        role: "user",
                        content: [
                            { type: "input_text", text: QUESTION },
                            { type: "input_image", image_url: IMAGE.url, detail: "low" },
                        ],
                    },
                ],
                max_output_tokens: 200,
                stream: true,
            },
            named("responses_stream"),
        ),
    );
    assert.equal(events.at(-1).type, "response.completed");
    const embeddings = await client.embeddings.create(
        { model: "vec-1", input: ["high water", "low water"] },
        named("embeddings"),
    );
    assert.ok(embeddings.usage.total_tokens > 0, embeddings);
    const images = await client.images.generate(
        { model: "pic-1", prompt: "a tide mill", n: 2 },
        named("images"),
    );
    assert.ok(images.usage.total_tokens > 0, images);
    const speech = await client.audio.speech.create(
        { model: "say-1", input: "High water at six.", voice: "any" },
        named("speech"),
    );
    assert.ok((await speech.arrayBuffer()).byteLength > 0);

    let error = await rejected(
        OpenAI.BadRequestError,
        chat({ ...short, max_tokens: -1 }, named("chat_wrong")),
    );
    assert.equal(error.param, "max_tokens");

    const retrying = client.withOptions({ maxRetries: 3 });
    const patient = (body, options) => retrying.chat.completions.create(body, options);
    const long = { ...short, max_tokens: 90 };
    await patient(long, named("chat_slow", "slow"));
    for (const [stream, call] of [
        [false, "chat_denied"],
        [true, "chat_stream_denied"],
    ]) {
        error = await rejected(
            OpenAI.RateLimitError,
            patient({ ...long, stream }, named(call, "slow")),
        );
        assert.deepEqual(
            [error.status, error.code, error.type],
            [429, "rate_limit_exceeded", "tokens"],
        );
        assert.equal(error.headers.get("x-should-retry"), "false");
    }
    await patient(short, named("chat_soon", "soon"));
    await patient(short, named("chat_waits", "soon"));
}

async function anthropic() {
    const client = new Anthropic({ apiKey: "anthropic-node", baseURL: BASE, maxRetries: 0 });
    const named = (call, limit) => ({ headers: fields(`anthropic-node:${call}`, limit) });
    const short = { model: "small-1", messages: MESSAGES, max_tokens: 50 };

    const whole = await client.messages.create(
        {
            model: "small-1",
            max_tokens: 400,
            system: [
                { type: "text", text: "Answer briefly.", cache_control: { type: "ephemeral" } },
            ],
            messages: [
                {
                    role: "user",
                    content: [
                        {
                            type: "image",
                            source: { type: "base64", media_type: "image/png", data: PNG },
                        },
                        {
                            type: "document",
                            source: {
                                type: "text",
                                media_type: "text/plain",
                                data: "06:12 and 18:40",
                            },
                        },
                        { type: "text", text: QUESTION },
                    ],
                },
                {
                    role: "assistant",
                    content: [
                        {
                            type: "tool_use",
                            id: "t1",
                            name: "tide_table",
                            input: { port: "Brest" },
                        },
                    ],
                },
                {
                    role: "user",
                    content: [
                        {
                            type: "tool_result",
                            tool_use_id: "t1",
                            content: [{ type: "text", text: "07:00" }],
                        },
                    ],
                },
            ],
            tools: [
                { name: "tide_table", description: "High and low water", input_schema: PORTS },
            ],
        },
        named("messages"),
    );
    assert.ok(whole.usage.output_tokens > 0, whole);
    const stream = client.messages.stream(short, named("messages_stream"));
    assert.ok((await stream.finalMessage()).usage.output_tokens > 0);
    let error = await rejected(
        Anthropic.BadRequestError,
        client.messages.create({ ...short, max_tokens: -1 }, named("messages_wrong")),
    );
    assert.equal(error.error.error.type, "invalid_request_error");

    const retrying = client.withOptions({ maxRetries: 3 });
    const patient = (body, options) => retrying.messages.create(body, options);
    const long = { ...short, max_tokens: 90 };
    await patient(long, named("messages_slow", "slow"));
    for (const [stream, call] of [
        [false, "messages_denied"],
        [true, "messages_stream_denied"],
    ]) {
        error = await rejected(
            Anthropic.RateLimitError,
            patient({ ...long, stream }, named(call, "slow")),
        );
        assert.deepEqual([error.status, error.error.error.type], [429, "rate_limit_error"]);
        assert.equal(error.headers.get("x-should-retry"), "false");
    }
    await patient(short, named("messages_soon", "soon"));
    await patient(short, named("messages_waits", "soon"));
}

async function genai() {
    const client = new GoogleGenAI({ apiKey: "genai-node", httpOptions: { baseUrl: BASE } });
    const named = (call, limit) => ({
        httpOptions: { headers: fields(`genai-node:${call}`, limit) },
    });
    const ask = (contents, config) =>
        client.models.generateContent({ model: "small-2", contents, config });

    const whole = await ask(
        [
            {
                role: "user",
                parts: [{ text: QUESTION }, { inlineData: { data: PNG, mimeType: "image/png" } }],
            },
        ],
        {
            systemInstruction: "Answer briefly.",
            temperature: 0.1,
            candidateCount: 2,
            maxOutputTokens: 250,
            responseMimeType: "application/json",
            responseSchema: { type: "OBJECT", properties: { time: { type: "STRING" } } },
            ...named("generate"),
        },
    );
    assert.ok(whole.usageMetadata.totalTokenCount > 0, whole);
    const chunks = await collected(
        client.models.generateContentStream({
            model: "small-2",
            contents: QUESTION,
            config: named("generate_stream"),
        }),
    );
    assert.ok(chunks.at(-1).usageMetadata.totalTokenCount > 0, chunks.at(-1));
    const embedded = await client.models.embedContent({
        model: "vec-2",
        contents: ["high water", "low water"],
        config: named("embed"),
    });
    assert.ok(embedded.embeddings.length > 0, embedded);
    let error = await rejected(
        ApiError,
        ask(QUESTION, { maxOutputTokens: -1, ...named("generate_wrong") }),
    );
    assert.equal(error.status, 400);

    const short = { maxOutputTokens: 90 };
    await ask(QUESTION, { ...short, ...named("generate_slow", "slow") });
    error = await rejected(
        ApiError,
        ask(QUESTION, { ...short, ...named("generate_denied", "slow") }),
    );
    assert.equal(error.status, 429);
    assert.match(error.message, /RESOURCE_EXHAUSTED/);
}

await Promise.all([openai(), anthropic(), genai()]);
