// Asks through the proxy with OpenAI's own package for JavaScript, and prints what came as one line of JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "sk-secret" });
const question = { model: "confsec-tiny", max_tokens: 8, messages: [{ role: "user", content: "Hello?" }] };

const { data, response } = await client.chat.completions.create(question).withResponse();
const parts = [];
for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
  parts.push(chunk.choices[0]?.delta?.content ?? "");
}
const models = await client.models.list();
let refusal = null;
try {
  await client.files.list();
} catch (error) {
  refusal = { status: error.status, code: error.code };
}
console.log(
  JSON.stringify({
    answer: data.choices[0].message.content,
    proof: response.headers.get("confsec-proof"),
    parts,
    models: models.data.map((model) => model.id),
    refusal,
  }),
);
