"""What the decoder alone costs: real showers, encoded and decoded with their true layer energies.

    python scripts/studies/decoder_alone.py RUN SHOWERS.hdf5 OUT.hdf5 [--draw]

With --draw, latents and voxels are drawn, so that only energy model and second step are real.
Writes the decoded showers, to be scored with ``caloman evaluate generated=OUT.hdf5 ...``, and
prints mean and standard deviation of E_tot / E_inc of the real showers, of the energy model, of
the whole model and of the decoder alone.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from caloman_cli.data.showers import Showers
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model

CHUNK = 2000


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("showers", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--draw", action="store_true")
    arguments = parser.parse_args()
    model, _ = load_model(arguments.run / "model.pt")
    real = Showers.from_files([arguments.showers], model.geometry)
    ratios: dict[str, list[Tensor]] = {}
    start = 0
    with ShowerWriter(arguments.out, len(real), model.geometry, {}) as writer:
        for energies, block in real.iterate(CHUNK):
            voxels, e_inc = torch.from_numpy(block), torch.from_numpy(energies).float()
            context = model.preprocess.context(voxels, e_inc)
            x, c = model.preprocess(voxels, e_inc)
            noise = [Noise(1, start, len(block)) for _ in range(3)]
            z, head = model.encoder.posterior(x, c), model.encoder.head
            if arguments.draw:
                latents = z.mean + z.sigma * noise[2].normal(z.mean.shape[1])
                shares = head.sample(model.encoder.decode(latents, c), noise[2])
                decoded = model.calibration(model.preprocess.inverse(shares, context))
            else:
                shares = head.mean(model.encoder.decode(z.mean, c))
                decoded = model.preprocess.inverse(shares, context)
            writer.write(energies, decoded.numpy())
            for name, energy in (
                ("real", context.layers),
                ("energy model", model.energy.sample(e_inc, noise[0])),
                ("whole model", model.sample(e_inc, noise[1])),
                ("decoder alone", decoded),
            ):
                ratios.setdefault(name, []).append(energy.sum(1) / e_inc[:, 0])
            start += len(block)
    for name, parts in ratios.items():
        values = torch.cat(parts)
        print(f"{name:14s} E_tot/E_inc {values.mean():.3f} +- {values.std():.3f}")


if __name__ == "__main__":
    main()
