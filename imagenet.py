"""Train an image classifier on ImageNet (1,000 classes, 224x224).

accelerate launch imagenet.py data.root=PATH model=vggkagn model.width_scale=2
"""

from cifar import get_data  # the one function to edit, whatever the script
from experiments.app import launch

if __name__ == "__main__":
    launch("imagenet", get_data)
