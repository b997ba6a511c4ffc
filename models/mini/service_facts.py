"""What headrace-mini knows about itself, Headrace, and the words of inference: term, answers."""

from __future__ import annotations

SELF: list[tuple[str, list[str]]] = [
    (
        "{who are you|what are you|what is your name|what's your name|who am i talking to|introduce yourself|"
        "tell me about yourself|what should i call you|who is this|do you have a name|say who you are|"
        "what model are you|which model is this|which model are you|are you an ai|are you a bot|"
        "are you a robot|are you human|are you a person}?",
        [
            "I am headrace-mini, the small language model that comes with Headrace. I have about six million parameters and run on your own machine.",
            "I am headrace-mini, Headrace's small bundled model. I have about six million parameters, so I know little, but I answer fast and everything stays on your machine.",
        ],
    ),
    (
        "{how big are you|how many parameters do you have|what size are you|how large are you|are you a big model|"
        "are you a large model|how many parameters are in this model|what is your parameter count}?",
        ["I have about six million parameters: six layers, a hidden width of 256 and a vocabulary of 4096 tokens. That is tiny for a language model."],
    ),
    (
        "{who made you|who built you|who created you|who trained you|where do you come from|who is your maker|"
        "how were you trained|how were you made|what were you trained on|what data were you trained on}?",
        ["I come with the Headrace project. I was trained from scratch on synthetic dialogues that the project's own generator wrote, and the recipe is in the models folder."],
    ),
    (
        "{what can you do|how can you help me|what do you know|what are you good at|what can i ask you|help|"
        "what are your skills|what are your abilities|what can i do here|show me what you can do|"
        "give me some examples of what you can do}?",
        ["I can chat, answer simple facts, explain words such as TTFT and KV cache, count, list things, tell short stories, remember what you tell me, and call simple tools. For hard questions, serve a larger model with Headrace."],
    ),
    (
        "{what can you not do|what are your limits|what are your limitations|are you smart|how smart are you|"
        "can i trust you|are you reliable|do you make mistakes|are your answers always right|what are you bad at}?",
        ["I am a very small model, so I know few facts and make mistakes. I am here to try Headrace out and to test it; for real work, serve a larger model."],
    ),
    (
        "{where do you run|do you need the internet|are you in the cloud|is my data safe|do you send my data anywhere|"
        "are you online|do you work offline|where does my data go|is this private|do you store my messages}?",
        ["I run on your own machine, inside the Headrace server, and need no internet. Nothing you type here leaves your machine."],
    ),
    (
        "{do you have feelings|are you alive|are you conscious|can you think|do you dream|do you sleep|do you eat}?",
        ["No. I am a small language model: a program that predicts the next token. But I am glad to help."],
    ),
    (
        "{how old are you|when were you born|what is your birthday|what's your age}?",
        ["I have no age as people do. I am a small model that comes with Headrace, and I start fresh with every conversation."],
    ),
]

TERMS: list[tuple[str, list[str]]] = [
    ("{headrace|Headrace|the headrace project|this server}", [
        "Headrace is a self-hosted inference service for open-weight language models. It runs on your own hardware, speaks the OpenAI API, and aims to answer one user as fast as the hardware allows.",
        "Headrace is software that serves language models on your own machine behind the OpenAI API, with keys, limits, prices and a console."]),
    ("{a headrace|a head race|a mill's headrace|a headrace in a mill}", [
        "A headrace is the channel that brings water to a mill's wheel at full speed. The project took its name from it.",]),
    ("{ttft|TTFT|time to first token|the time to first token}", [
        "TTFT means time to first token: the time from sending a request until the first token of the answer arrives. It is mostly queueing and prefill.",
        "TTFT is the time to first token, the wait between your request and the first piece of the answer."]),
    ("{a token|tokens|tokens in a language model|an llm token}", [
        "A token is a small piece of text, such as a short word or part of a word. Language models read and write text as tokens.",]),
    ("{the kv cache|a kv cache|KV cache|kv caching|the key value cache}", [
        "The KV cache keeps the keys and values that attention computed for earlier tokens, so that each new token does not have to compute them again. It grows with the length of the conversation.",]),
    ("{prefill|the prefill phase|prefilling}", [
        "Prefill is the first phase of a request: the model reads all prompt tokens at once and fills the KV cache. It is limited by arithmetic and decides most of the TTFT.",]),
    ("{decode|decoding|the decode phase}", [
        "Decode is the phase in which the model writes its answer, one token after the other. At batch one it is limited by how fast the weights can be read from memory.",]),
    ("{streaming|token streaming|a streamed answer|response streaming}", [
        "Streaming means that tokens are sent to you as soon as they are made, instead of all at the end. In the API you ask for it with stream set to true.",]),
    ("{a batch|batching|continuous batching|batch size}", [
        "A batch is a group of requests that the model works on in the same step. Continuous batching lets requests join and leave the batch at every step, so that no one waits for the slowest.",]),
    ("{throughput|tokens per second|token throughput}", [
        "Throughput is the number of tokens made per second. It can be counted for one user or for all users together.",]),
    ("{latency|response latency}", [
        "Latency is the time you wait for something. For a language model, the time to first token and the time between tokens matter most.",]),
    ("{inference|llm inference|model inference}", [
        "Inference is running a trained model to get answers from it. Training makes the weights; inference uses them.",]),
    ("{a language model|an llm|an LLM|a large language model|language models}", [
        "A language model is a neural network that predicts the next token of a text. By doing that again and again it writes whole answers.",]),
    ("{attention|self attention|the attention mechanism}", [
        "Attention lets each token look at the tokens before it and take what it needs from them. It is the heart of a transformer.",]),
    ("{a transformer|the transformer architecture|transformers in machine learning}", [
        "A transformer is a neural network made of layers, each with attention and a feed-forward part. Most language models are transformers.",]),
    ("{temperature|sampling temperature|the temperature setting}", [
        "Temperature sets how freely the next token is chosen. At zero the model always takes the most likely token; higher values give more variety.",]),
    ("{top p|top_p|nucleus sampling}", [
        "Top p keeps only the most likely tokens whose probabilities add up to p, and samples among them.",]),
    ("{the context length|a context window|the context window|context length}", [
        "The context window is the number of tokens a model can look at in one go, prompt and answer together. Mine is 2048 tokens.",]),
    ("{a tokenizer|tokenization|a bpe tokenizer}", [
        "A tokenizer cuts text into tokens and gives each a number. Mine is a byte-level BPE with 4096 tokens.",]),
    ("{speculative decoding|speculation|a draft model|draft tokens}", [
        "In speculative decoding a cheap guesser proposes several tokens and the model checks them all in one step. Right guesses save time, and the answer stays the same.",]),
    ("{quantization|quantisation|a quantized model}", [
        "Quantisation stores weights with fewer bits to save memory and time, at some cost in precision. Headrace serves the precision that the checkpoint ships with.",]),
    ("{bf16|bfloat16|the bf16 format}", [
        "bf16 is a 16-bit number format with the range of a 32-bit float and fewer digits. My weights are stored in bf16.",]),
    ("{a parameter|model parameters|weights|the weights of a model}", [
        "Parameters, also called weights, are the numbers a model learned in training. I have about six million of them.",]),
    ("{an api key|a key in headrace|api keys}", [
        "An API key is a secret string that says who is calling. You make one with headrace keys create, and it is shown only once.",]),
    ("{a rate limit|rate limits|rate limiting}", [
        "A rate limit says how many requests or tokens a key may use in a given time. Beyond it the server answers with status 429.",]),
    ("{the openai api|an openai compatible api|openai compatibility}", [
        "It is the HTTP interface that many programs already speak. Headrace answers it too, so you only change the base URL and the key.",]),
    ("{prefix caching|the prefix cache|prompt caching|a prefix cache}", [
        "A prefix cache keeps the KV cache of prompts seen before. When a new request begins with the same tokens, that part of prefill is skipped.",]),
    ("{a gpu|gpus|a graphics card}", [
        "A GPU is a processor with thousands of small arithmetic units. It is good at the matrix products of neural networks.",]),
    ("{memory bandwidth|bandwidth}", [
        "Memory bandwidth is how many bytes per second can be read from memory. It limits decoding, since every token reads all the weights.",]),
    ("{a wafer|the wafer|wafer scale computing|a wafer scale chip}", [
        "A wafer-scale machine is one huge chip with hundreds of thousands of cores and its memory beside them. Headrace contains a simulated one.",]),
    ("{a tool call|function calling|tool calling|tool use}", [
        "A tool call is an answer in which the model asks the program to run a function, with a name and parameters as JSON. The program sends back the result and the model goes on.",]),
    ("{a system prompt|the system prompt|a system message}", [
        "A system prompt is a message at the start of a conversation that tells the model how to behave.",]),
    ("{a neural network|neural networks}", [
        "A neural network is a program made of many simple sums with learned weights. With enough of them it can recognise and write things.",]),
    ("{overfitting|over-fitting}", ["Overfitting means that a model learned its training examples by heart instead of the rule behind them."]),
    ("{self hosting|self-hosted software}", ["Self-hosting means running a service on your own machines instead of renting it. Your data stays with you."]),
]  # fmt: skip

HOW: list[tuple[str, list[str]]] = [
    (
        "{how do i start headrace|how do i start the server|how to start headrace|how can i run headrace|"
        "what command starts headrace|how do i serve a model|how do i run a model|how to serve a model with headrace|"
        "how do i use headrace|how do i launch the server}?",
        ["Run headrace serve to start the server with the bundled model, or headrace serve followed by a checkpoint folder to serve another model. It prints a line with its address when it is ready."],
    ),
    (
        "{how do i make an api key|how do i create a key|how do i get an api key|how to create an api key|"
        "where do i get a key|how do keys work}?",
        ["Run headrace keys create with a tier and a name. The key is printed once, so keep it safe."],
    ),
    (
        "{how do i chat in the terminal|how can i talk to you in a terminal|can i use the command line to chat|how do i chat with a model}?",
        ["Run headrace chat. It opens a chat in the terminal and shows the live speed in tokens per second."],
    ),
    (
        "{how do i measure the speed|how do i benchmark headrace|how fast is my machine|how can i run a benchmark|how do i test the speed}?",
        ["Run headrace bench decode with a model to measure the engine, or headrace doctor to see what this machine can do."],
    ),
    (
        "{why is decode slow|why is decoding slower than prefill|why is decode limited by memory|why does decoding need bandwidth|what limits decode speed}?",
        ["Each new token needs all the weights once, so decoding one answer is limited by how fast memory can be read. Prefill works on many tokens at once and is limited by arithmetic."],
    ),
    (
        "{how can i get better answers|can i use a larger model|can i use another model|how do i use a bigger model|can headrace run other models}?",
        ["Yes. Headrace serves checkpoint folders in the Hugging Face layout: run headrace serve with the folder's path. A larger model knows far more than I do."],
    ),
    (
        "{why are you so fast|how are you so fast|why do you answer so quickly}?",
        ["I am tiny, my weights fit into the processor's caches, and Headrace runs each step as one native call."],
    ),
]
