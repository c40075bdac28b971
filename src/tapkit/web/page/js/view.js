// The picture on the canvas: (x, y) of the video, corner origin, to CSS pixels of the canvas and back. Because the origin
// is the outer corner of the first pixel, both ways are one multiplication and one addition.

const LEAST = 0.05, MOST = 64;

export class View {
  constructor(width, height) {
    Object.assign(this, { width, height, scale: 1, left: 0, top: 0, room: [1, 1], fitted: true });
  }

  resize(width, height) {
    this.room = [Math.max(1, width), Math.max(1, height)];
    if (this.fitted) this.fit();
    else this.hold();
  }

  fit() {
    const [width, height] = this.room, margin = 12;
    this.scale = Math.max(LEAST, Math.min((width - margin) / this.width, (height - margin) / this.height));
    this.left = (width - this.width * this.scale) / 2;
    this.top = (height - this.height * this.scale) / 2;
    this.fitted = true;
  }

  zoom(factor, at = [this.room[0] / 2, this.room[1] / 2]) {
    const [x, y] = this.toVideo(...at);
    this.scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    this.left = at[0] - x * this.scale;
    this.top = at[1] - y * this.scale;
    this.fitted = false;
    this.hold();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
    this.hold();
  }

  /** Some of the picture always stays in sight. */
  hold() {
    const [width, height] = this.room, rest = 48;
    this.left = Math.min(Math.max(this.left, rest - this.width * this.scale), width - rest);
    this.top = Math.min(Math.max(this.top, rest - this.height * this.scale), height - rest);
  }

  center(x, y) {
    this.left = this.room[0] / 2 - x * this.scale;
    this.top = this.room[1] / 2 - y * this.scale;
    this.fitted = false;
    this.hold();
  }

  toVideo(px, py) {
    return [(px - this.left) / this.scale, (py - this.top) / this.scale];
  }

  toScreen(x, y) {
    return [this.left + x * this.scale, this.top + y * this.scale];
  }

  inside(x, y) {
    return x >= 0 && y >= 0 && x <= this.width && y <= this.height;
  }
}
