// The style network, in a thread of its own: the page answers while it paints.
// Takes {load: name of the .onnx file}, then {id, pixels, width, height}; gives {ready}, {id, pixels, seconds} or
// {error, id}. Pixels are RGBA bytes, opaque, as of a canvas; those of a picture go to and fro without a copy.

const parts = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url);
let runtime, session;

async function load(name) {
  try {
    runtime = await import(new URL("ort.wasm.min.mjs", parts));
  } catch {
    throw new Error("The page's parts are missing: run npm ci in its folder, then load it again.");
  }
  runtime.env.wasm.wasmPaths = parts.href;
  // More threads share memory, which browsers allow only to pages that are cut off from all others.
  runtime.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
  const answer = await fetch(name);
  if (!answer.ok) {
    throw new Error(`${name} is not here: kstyle export style:night -o ${name} in the page's folder makes one.`);
  }
  try {
    session = await runtime.InferenceSession.create(await answer.arrayBuffer());
  } catch (error) {
    throw new Error(`${name} cannot be used: ${error.message}`);
  }
}

async function paint(pixels, width, height) {
  const numbers = new Float32Array(width * height * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4) {
    for (let channel = 0; channel < 3; channel++) numbers[to++] = pixels[from + channel] / 255;
  }
  const photograph = new runtime.Tensor("float32", numbers, [1, height, width, 3]);
  const { painting } = await session.run({ photograph });
  for (let from = 0, to = 0; to < pixels.length; to += 4) {
    // Stored as whole numbers from 0 to 255: a Uint8ClampedArray rounds.
    for (let channel = 0; channel < 3; channel++) pixels[to + channel] = painting.data[from++] * 255;
  }
  painting.dispose();
}

self.onmessage = async ({ data }) => {
  try {
    if (data.load) {
      await load(data.load);
      self.postMessage({ ready: true });
    } else {
      const began = performance.now();
      await paint(data.pixels, data.width, data.height);
      const seconds = (performance.now() - began) / 1000;
      self.postMessage({ id: data.id, pixels: data.pixels, seconds }, [data.pixels.buffer]);
    }
  } catch (error) {
    const words = data.load ? error.message : `It could not be painted: ${error.message ?? error}. Try a smaller size.`;
    self.postMessage({ id: data.id, error: words });
  }
};
