// The page `try`: a photograph in, its saliency map and an overlay out. Everything is computed here, nothing is sent.
import {coloured, density, fed, levels, overlay, squashed} from './saliency.js';

const base = new URL('../try/', import.meta.url);  // written by docs/trial.py
const part = name => document.getElementById(`try-${name}`);
const say = text => { part('says').textContent = text; };
const megabytes = bytes => `${(bytes / 1e6).toFixed(1)} MB`;
const millions = n => `${Math.round(n / 1e6)} million`;
const LONGEST = 1200;  // pixels of the long side of what is shown
const LARGEST = 16e6;  // pixels of a picture; some browsers have no larger canvas

export let latest = null;  // what is on the page: {network, picture, density, ms}
let about, ort, asked = 0, turn = Promise.resolve();
const sessions = {};  // by name of the network

class Trouble extends Error {}  // its message is a sentence for the visitor

async function loaded(file) {
  const answer = await fetch(new URL(file, base));
  if (!answer.ok) throw new Error(`${file}: ${answer.status} ${answer.statusText}`);
  return answer;
}

// The network, ready. It runs once on nothing, since a first run takes several times as long as the others.
async function session(network) {
  if (sessions[network.name]) return sessions[network.name];
  const runtime = ort ? '' : ` and ONNX Runtime Web, ${megabytes(about.runtime.bytes)}`;
  say(`Loading the network ${network.name}, ${megabytes(network.bytes)}${runtime} …`);
  try {
    const bytes = new Uint8Array(await (await loaded(network.file)).arrayBuffer());
    ort ??= await import(new URL('ort.wasm.min.mjs', base));
    ort.env.wasm.numThreads = 1;  // more need headers that static hosts do not send
    const made = await ort.InferenceSession.create(bytes, {executionProviders: ['wasm']});
    await map(made, network, new Float32Array(3 * network.size[0] * network.size[1]));
    return sessions[network.name] = made;
  } catch (e) {
    throw new Trouble(`The network could not be started in this browser (${e.message}). `
      + 'Is the connection there, and WebAssembly allowed? Reload the page to try again.');
  }
}

async function map(session, network, input) {
  const images = new ort.Tensor('float32', input, [1, 3, ...network.size]);
  return (await session.run({images})).maps.data;
}

// ImageData of a decoded picture with at most so many pixels; transparency is laid over white, as in Python.
function pixels(bitmap, scale) {
  const [width, height] = [bitmap.width, bitmap.height].map(n => Math.max(1, Math.round(n * Math.min(1, scale))));
  const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext('2d', {willReadFrequently: true});
  pen.imageSmoothingQuality = 'high';
  pen.fillStyle = 'white';
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
}

// Turned upright as its EXIF notes ask; colours as they are stored, since Python does not convert them either.
async function decoded(blob) {
  try {
    return await createImageBitmap(blob, {colorSpaceConversion: 'none'});
  } catch {
    const name = blob.name ?? 'This';
    throw new Trouble(`${name} is no picture that your browser can read: choose a JPEG, PNG or WebP file.`);
  }
}

async function show(blob, text) {
  const network = about.networks.find(n => n.name === part('networks').querySelector(':checked').value);
  const bitmap = await decoded(blob), running = await session(network);
  const whole = pixels(bitmap, Math.sqrt(LARGEST / (bitmap.width * bitmap.height)));
  const picture = pixels(bitmap, LONGEST / Math.max(bitmap.width, bitmap.height));
  const start = performance.now();
  const input = fed(squashed(whole, network.size));
  const before = performance.now(), raw = await map(running, network, input), after = performance.now();
  const found = density(raw, network.size, [picture.height, picture.width]);
  const ms = performance.now() - start;
  latest = {network: network.name, picture, density: found, levels: levels(found), ms, text, blob};
  draw(part('map'), coloured(latest.levels, about.colours, picture.width), `Saliency map of: ${text}`);
  blend();
  part('shown').hidden = false;
  say(`A map in ${Math.round(ms)} ms, of which the network took ${Math.round(after - before)}: `
    + `${millions(network.macs)} MACs, ${megabytes(network.bytes)}.`);
}

function draw(canvas, image, label) {
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext('2d').putImageData(image, 0, 0);
  canvas.setAttribute('aria-label', label);
}

function blend() {
  const {picture, levels, text} = latest, strength = part('strength').value / 100;
  draw(part('overlay'), overlay(picture, levels, about.colours, strength), `The map over the picture: ${text}`);
}

// One picture after the other; of several that wait only the last is computed.
function ask(blob, text) {
  const mine = ++asked;
  turn = turn.then(async () => {
    if (mine !== asked) return;
    try {
      await show(await blob, text);
    } catch (e) {
      say(e instanceof Trouble ? e.message : `That did not work: ${e.message}.`);
    }
  });
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function choices() {
  part('networks').append(...about.networks.map((n, i) => {
    const facts = [`${n.size.join('×')} pixels`, `${millions(n.macs)} MACs`, megabytes(n.bytes),
      `CC ${n.cc.osie.toFixed(3)} on OSIE`];
    const input = element('input', {type: 'radio', name: 'network', value: n.name, checked: i === 0});
    return element('label', {}, input, element('b', {textContent: n.name}), ` ${facts.join(', ')}`);
  }));
  part('photographs').append(...about.photographs.map(({file, shows}) => {
    const image = element('img', {src: new URL(file, base), alt: shows, loading: 'lazy'});
    const button = element('button', {type: 'button'}, image);
    button.addEventListener('click', () => ask(loaded(file).then(answer => answer.blob()), shows));
    return button;
  }));
}

const given = files => files.length && ask(files[0], files[0].name);

function listen() {
  part('file').addEventListener('change', e => given(e.target.files));
  part('strength').addEventListener('input', blend);
  part('networks').addEventListener('change', () => latest && ask(latest.blob, latest.text));
  for (const kind of ['dragover', 'dragleave', 'drop']) {  // anywhere: a picture that misses must not replace the page
    document.addEventListener(kind, e => {
      e.preventDefault();
      part('drop').classList.toggle('over', kind === 'dragover');
      if (kind === 'drop') given(e.dataTransfer.files);
    });
  }
}

try {
  about = await (await loaded('about.json')).json();
  if (about.networks.length) {
    choices();
    listen();
    part('tools').hidden = false;
    say('Drop a photograph, choose one, or take one of those below. The network is loaded with the first.');
  } else {
    say('This page cannot compute: ONNX Runtime Web could not be downloaded when the site was built. '
      + 'Whoever builds it again with a network (make docs) gets a page that can.');
  }
} catch (e) {
  say(`The page could not load what it needs (${e.message}). Is the connection there?`);
}
