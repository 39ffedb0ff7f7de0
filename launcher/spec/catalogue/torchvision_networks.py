"""torchvision's networks for classification: the list itself, since the launch half does not import torchvision."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher.spec.catalogue.entry import Arguments, Count, Entry, Share

COMMON: Arguments = {"num_classes": (Count, 1000), "in_channels": (Count, 3), "dropout": (Share | None, None)}
IMAGE_SIZE: Arguments = {"image_size": (Count, 224)}
INPUT_SIZE: Arguments = {"input_size": (Annotated[list[Count], Field(min_length=2, max_length=2)], [224, 224])}

FAMILIES: tuple[tuple[str, str, Arguments], ...] = (
    ("resnet18 resnet34 resnet50 resnet101 resnet152", "residual network (He et al. 2015)", {}),
    ("wide_resnet50_2 wide_resnet101_2", "wide residual network (Zagoruyko and Komodakis 2016)", {}),
    ("resnext50_32x4d resnext101_32x8d resnext101_64x4d", "residual network with groups, ResNeXt (Xie et al. 2016)", {}),
    ("alexnet", "AlexNet (Krizhevsky 2014); images of at least 63 pixels", {}),
    ("vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn", "VGG (Simonyan and Zisserman 2014), _bn with batch norm", {}),
    ("squeezenet1_0 squeezenet1_1", "SqueezeNet (Iandola et al. 2016)", {}),
    ("densenet121 densenet161 densenet169 densenet201", "DenseNet (Huang et al. 2016)", {}),
    ("googlenet", "GoogLeNet (Szegedy et al. 2014), without its auxiliary outputs", {}),
    ("inception_v3", "Inception v3 (Szegedy et al. 2015), without its auxiliary output; images of at least 75 pixels", {}),
    ("mobilenet_v2 mobilenet_v3_small mobilenet_v3_large", "MobileNet (Howard et al. 2018, 2019)", {}),
    ("mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3", "MNASNet (Tan et al. 2018)", {}),
    ("shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0", "ShuffleNet v2 (Ma et al. 2018)", {}),
    (
        "efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 "
        "efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l",
        "EfficientNet (Tan and Le 2019, 2021)",
        {},
    ),
    (
        "regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf regnet_y_400mf "
        "regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf",
        "RegNet (Radosavovic et al. 2020)",
        {},
    ),
    ("convnext_tiny convnext_small convnext_base convnext_large", "ConvNeXt (Liu et al. 2022)", {}),
    ("vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14", "vision transformer (Dosovitskiy et al. 2020)", IMAGE_SIZE),
    ("swin_t swin_s swin_b swin_v2_t swin_v2_s swin_v2_b", "Swin transformer (Liu et al. 2021)", {}),
    ("maxvit_t", "MaxViT (Tu et al. 2022); sizes that 224 divides by 32 and 7", INPUT_SIZE),
)
"""(names, doc, arguments beside the common ones)"""

TORCHVISION_NETWORKS = tuple(
    Entry("model", name, "launcher.worker.models.vision:torchvision_model", f"{doc}, of torchvision", {**COMMON, **more},
          needs=("torchvision.models",))
    for names, doc, more in FAMILIES
    for name in names.split()
)  # fmt: skip
