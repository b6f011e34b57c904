"""Train an image classifier on Tiny ImageNet (200 classes, 64x64).

accelerate launch tiny_imagenet.py data.root=PATH model=vggkagn model.width_scale=2
"""

from cifar import get_data  # the one function to edit, whatever the script
from experiments.app import launch

if __name__ == "__main__":
    launch("tiny_imagenet", get_data)
