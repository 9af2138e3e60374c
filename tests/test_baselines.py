"Baselines against an outside oracle: OpenCV's spectral residual, where opencv-contrib is installed."

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve1d

from salnas.baselines import spectral_residual
from salnas.photographs import photographs

cv2 = pytest.importorskip('cv2', reason='opencv-contrib-python-headless is not installed')
if not hasattr(cv2, 'saliency'):
    pytest.skip('this OpenCV lacks the contributed modules', allow_module_level=True)


def test_spectral_residual_is_that_of_opencv():
    """On 64x64 grey pictures, where neither resizes.

    OpenCV blurs the magnitude with 5x5 pixels and squares it then; the paper squares first. And it mirrors the spectrum
    at its border, where ours goes round."""
    model, photos = cv2.saliency.StaticSaliencySpectralResidual_create(), photographs()
    model.setImageWidth(64)
    model.setImageHeight(64)
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 8**2))
    for i in range(len(photos)):
        grey = np.array(Image.fromarray(photos.read(i)).convert('L').resize((64, 64), Image.BOX))
        _, theirs = model.computeSaliency(grey)
        ours = spectral_residual(torch.from_numpy(grey / 255).expand(3, 64, 64).float(), sigma=0).sqrt().numpy()
        for axis in (0, 1):
            ours = convolve1d(ours, kernel, axis, mode='mirror')
        assert np.corrcoef(ours.ravel() ** 2, theirs.ravel())[0, 1] > 0.998
