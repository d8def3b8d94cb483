// What the page does: photographs and frames in, paintings on the canvas. painter.js has the network.

const element = (id) => document.getElementById(id);
const [canvas, status, failed, download] = ["canvas", "status", "error", "download"].map(element);
const shown = canvas.getContext("2d");
const LEAST_SIDE = 5; // pixels, of what the network takes

const asked = new URLSearchParams(location.search).get("network") ?? "night.onnx";
const network = /^[\w.-]+\.onnx$/.test(asked) ? asked : "night.onnx"; // beside the page, and nowhere else

const painter = new Worker("painter.js", { type: "module" });
const waiting = new Map(); // {number of a picture: what is done with its answer}
let last = 0; // number of the latest picture that was asked for
let source = null; // what is painted: {picture: an ImageBitmap, name}, or {video: a <video>}
let now = null; // on the canvas: {photograph: ImageData, painting: its pixels}

const say = (words) => { status.textContent = words; };
function fail(words) {
  failed.textContent = words;
  failed.hidden = false;
  say("");
}
const clear = () => { failed.hidden = true; };

// ---------------------------------------------------------------- the painter

const ready = new Promise((resolve, reject) => {
  painter.onmessage = ({ data }) => {
    if (data.ready) return resolve();
    const answer = waiting.get(data.id);
    waiting.delete(data.id);
    const error = data.error && new Error(data.error);
    if (!answer) return reject(error);
    if (error) answer.reject(error);
    else answer.resolve(data);
  };
  painter.onerror = () => reject(new Error("painter.js could not be started: is the whole folder served?"));
});
painter.postMessage({ load: network });
ready.then(() => say("Ready."), (error) => fail(error.message));

async function painted(photograph) {
  await ready;
  const { width, height } = photograph;
  const pixels = photograph.data.slice(), id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    painter.postMessage({ id, pixels, width, height }, [pixels.buffer]);
  });
}

// ---------------------------------------------------------------- pictures

// A picture or frame at the size that is asked for, never larger than it is.
function atSize(picture, width, height) {
  const share = Math.min(1, Number(element("size").value) / Math.max(width, height));
  const [w, h] = [width, height].map((side) => Math.max(1, Math.round(side * share)));
  if (Math.min(w, h) < LEAST_SIDE) throw new Error(`This picture is too small, or too narrow: ${width}×${height}.`);
  const context = new OffscreenCanvas(w, h).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // where a picture is transparent
  context.fillRect(0, 0, w, h);
  context.drawImage(picture, 0, 0, w, h);
  return context.getImageData(0, 0, w, h);
}

// The painting laid over the photograph, as strong as the slider says.
function show() {
  if (!now) return;
  const { photograph, painting } = now, strength = element("strength").value / 100;
  const mixed = new ImageData(photograph.width, photograph.height);
  for (let i = 0; i < painting.length; i++) {
    mixed.data[i] = photograph.data[i] + strength * (painting[i] - photograph.data[i]);
  }
  canvas.width = photograph.width;
  canvas.height = photograph.height;
  shown.putImageData(mixed, 0, 0);
  download.hidden = false;
}

async function paint(photograph) {
  const { pixels, seconds } = await painted(photograph);
  now = { photograph, painting: pixels };
  show();
  return seconds;
}

async function paintPicture() {
  const mine = source;
  try {
    clear();
    await ready; // what keeps the painter from that is on the page already
  } catch (error) {
    return fail(error.message);
  }
  try {
    const photograph = atSize(mine.picture, mine.picture.width, mine.picture.height);
    say("Painting …");
    const seconds = await paint(photograph);
    if (mine === source) say(`${photograph.width}×${photograph.height}, painted in ${seconds.toFixed(1)} s.`);
  } catch (error) {
    fail(error.message);
  }
}

async function open(file) {
  if (!file) return;
  stopCamera();
  let picture;
  try {
    picture = await createImageBitmap(file); // upright, as its camera says
  } catch {
    return fail(`${file.name} is no picture that this browser opens.`);
  }
  source = { picture, name: file.name.replace(/\.[^.]*$/, "") };
  await paintPicture();
}

// ---------------------------------------------------------------- the camera

const DENIED = {
  NotAllowedError: "The camera may not be used: allow it for this page in the browser's settings.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use by another program.",
};

async function useCamera() {
  if (source?.video) return stopCamera();
  clear();
  if (!navigator.mediaDevices) {
    return fail("Browsers give the camera only to pages of this machine (http://localhost) and of https addresses.");
  }
  const video = document.createElement("video");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.playsInline = video.muted = true;
    await video.play();
    await ready;
  } catch (error) {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    return fail(DENIED[error.name] ?? error.message);
  }
  const mine = (source = { video, name: "camera" });
  element("camera").textContent = "Stop the camera";
  while (source === mine) {
    try {
      const began = performance.now();
      await paint(atSize(video, video.videoWidth, video.videoHeight));
      const rate = 1000 / (performance.now() - began);
      if (source === mine) say(`${canvas.width}×${canvas.height}, ${rate.toFixed(1)} frames a second.`);
      await new Promise(requestAnimationFrame);
    } catch (error) {
      stopCamera();
      fail(error.message);
    }
  }
}

function stopCamera() {
  if (!source?.video) return;
  source.video.srcObject.getTracks().forEach((track) => track.stop());
  source = null;
  element("camera").textContent = "Use the camera";
  say("The last frame stays.");
}

// ---------------------------------------------------------------- controls

element("file").onchange = ({ target }) => {
  open(target.files[0]);
  target.value = ""; // so that the same file may be chosen again
};
element("camera").onclick = useCamera;
element("strength").oninput = show;
element("size").onchange = () => { if (source?.picture) paintPicture(); };

download.onclick = () => canvas.toBlob((blob) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${source?.name ?? "camera"}-${network.replace(/\.onnx$/, "")}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});

const drop = element("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") open(event.dataTransfer.files[0]);
  });
}
