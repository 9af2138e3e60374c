// From a picture to its saliency map, step by step as salnas.predict does it in Python. Nothing here touches the page.
// Pictures are ImageData: RGBA, 8 bits, row after row.

// What one pixel of the output takes from a row of the input: Pillow's triangle filter, widened when a picture shrinks
// so that no pixel is skipped; whole numbers of 2^-22, as Pillow has them.
function taps(from, to) {
  const scale = from / to, reach = Math.max(scale, 1);
  return Array.from({length: to}, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const height = at => Math.max(0, 1 - Math.abs((at - centre + 0.5) / reach));
    const raw = Array.from({length: end - first}, (_, k) => height(first + k));
    const sum = raw.reduce((a, b) => a + b);
    return {first, weights: Int32Array.from(raw, w => Math.floor(0.5 + w / sum * 2 ** 22))};
  });
}

// One pass along an axis: `lines` lines of `from` pixels become lines of `to`. step and line are the distances, in
// pixels, of neighbours along the axis and of lines; of the input, then of the output.
function pass(input, channels, output, lines, from, to, [step, line], [outStep, outLine]) {
  const all = taps(from, to);
  for (let l = 0; l < lines; l++) {
    for (let i = 0; i < all.length; i++) {
      const {first, weights} = all[i];
      let red = 2 ** 21, green = red, blue = red, at = (first * step + l * line) * channels;
      for (let k = 0; k < weights.length; k++, at += step * channels) {
        red += input[at] * weights[k];
        green += input[at + 1] * weights[k];
        blue += input[at + 2] * weights[k];
      }
      const out = (i * outStep + l * outLine) * 3;
      output[out] = red >> 22;  // 8 bits again, between the passes too
      output[out + 1] = green >> 22;
      output[out + 2] = blue >> 22;
    }
  }
  return output;
}

// (H,W,3) 8-bit pixels of a picture squashed to H x W, equal to Pillow's bilinear `resize` to the last bit. Since both
// passes round to 8 bits their order matters; Pillow takes that by height first where it drops more than twice as many
// rows as columns (since 13.0; before, never).
export function squashed({data, width, height}, [H, W]) {
  const from = new Uint8Array(data.buffer), out = new Uint8Array(H * W * 3);
  if (height > H && height - H > 2 * (width - W)) {
    const low = pass(from, 4, new Uint8Array(H * width * 3), width, height, H, [width, 1], [width, 1]);
    return pass(low, 3, out, H, width, W, [1, width], [1, W]);
  }
  const narrow = pass(from, 4, new Uint8Array(height * W * 3), height, width, W, [1, width], [1, W]);
  return pass(narrow, 3, out, W, height, H, [W, 1], [W, 1]);
}

// (1,3,H,W) in [0,1], as the exported network takes it; mean and standard deviation are part of that.
export function fed(pixels) {
  const plane = pixels.length / 3, input = new Float32Array(pixels.length);
  for (let i = 0; i < plane; i++) for (let c = 0; c < 3; c++) input[c * plane + i] = pixels[3 * i + c] / 255;
  return input;
}

// Where the centres of `to` pixels lie among `from`: the two neighbours, and the share of the second.
function between(from, to) {
  const low = new Int32Array(to), high = new Int32Array(to), share = new Float64Array(to);
  for (let i = 0; i < to; i++) {
    const at = Math.max(0, (i + 0.5) * from / to - 0.5);
    low[i] = Math.floor(at);
    high[i] = Math.min(low[i] + 1, from - 1);
    share[i] = at - low[i];
  }
  return {low, high, share};
}

// The network's map at another size, bilinearly, over its sum: a density, as `as_density` makes it.
export function density(map, [H, W], [h, w]) {
  const out = new Float32Array(h * w), down = between(H, h), across = between(W, w);
  let sum = 0;
  for (let y = 0; y < h; y++) {
    const top = down.low[y] * W, bottom = down.high[y] * W, share = down.share[y];
    for (let x = 0; x < w; x++) {
      const left = across.low[x], right = across.high[x], part = across.share[x];
      const upper = map[top + left] * (1 - part) + map[top + right] * part;
      const lower = map[bottom + left] * (1 - part) + map[bottom + right] * part;
      const value = Math.max(0, upper * (1 - share) + lower * share);
      out[y * w + x] = value;
      sum += value;
    }
  }
  for (let i = 0; i < out.length; i++) out[i] = sum > 0 ? out[i] / sum : 1 / out.length;
  return out;
}

// 0..255: the density stretched from its least to its largest value.
export function levels(density) {
  let low = Infinity, high = -Infinity;
  for (const v of density) {
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  return Uint8Array.from(density, v => high > low ? Math.round((v - low) * 255 / (high - low)) : 0);
}

// The map in colour over the picture, which turns grey. Strength 0 is the picture, 0.65 the `overlay` of Python.
export function overlay(picture, levels, colours, strength) {
  const out = new ImageData(picture.width, picture.height), from = picture.data;
  const grey = Math.min(1, 0.6 * strength / 0.65);
  for (let i = 0; i < levels.length; i++) {
    const at = 4 * i, colour = colours[levels[i]], share = strength * Math.sqrt(levels[i] / 255);
    const mean = (from[at] + from[at + 1] + from[at + 2]) / 3;
    for (let c = 0; c < 3; c++) {
      const dull = from[at + c] + grey * (mean - from[at + c]);
      out.data[at + c] = dull + share * (colour[c] - dull);
    }
    out.data[at + 3] = 255;
  }
  return out;
}

// The map alone, in colour.
export function coloured(levels, colours, width) {
  const out = new ImageData(width, levels.length / width);
  for (let i = 0; i < levels.length; i++) out.data.set([...colours[levels[i]], 255], 4 * i);
  return out;
}
